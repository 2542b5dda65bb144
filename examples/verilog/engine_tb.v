// Drives a generated engine through one small product, Y = X * W, with nothing but Verilog.
//
//   tilewright generate engine --preset tiny --name engine -o build/example
//
// Everything here was read from build/example/engine.json, the manifest: ports, opcodes, fields of
// the commands, registers, and the order of the operands. The array has 2 rows and 2 columns, so a
// 3 x 4 by 4 x 3 product takes two tiles of K and two tiles of channels, the last one half full.

`timescale 1ns / 1ps

module engine_tb;

  localparam M = 3, K = 4, N = 3;  // the product
  localparam ROWS = 2, COLS = 2;   // configuration.datapath: rows (of K) and cols (channels)
  localparam K_TILES = 2, N_TILES = 2;

  reg clk = 0, rst = 1;
  always #5 clk = ~clk;

  // streams: a beat moves in a cycle in which tvalid and tready are both high
  reg [31:0] cmd_data;
  reg cmd_last, cmd_valid = 0;
  wire cmd_ready;
  reg [15:0] x_data;
  reg x_last, x_valid = 0;
  wire x_ready;
  reg [15:0] w_data;
  reg w_last, w_valid = 0;
  wire w_ready;
  wire [63:0] y_data;
  wire [7:0] y_keep;
  wire y_last, y_valid;
  reg y_ready = 0;

  // registers
  reg [7:0] read_address;
  reg read_asked = 0;
  wire read_taken, read_valid;
  wire [31:0] read_data;

  engine dut (
    .clk(clk),
    .rst(rst),
    .s_axi_awaddr(8'd0),
    .s_axi_awprot(3'd0),
    .s_axi_awvalid(1'b0),
    .s_axi_awready(),
    .s_axi_wdata(32'd0),
    .s_axi_wstrb(4'd0),
    .s_axi_wvalid(1'b0),
    .s_axi_wready(),
    .s_axi_bresp(),
    .s_axi_bvalid(),
    .s_axi_bready(1'b1),
    .s_axi_araddr(read_address),
    .s_axi_arprot(3'd0),
    .s_axi_arvalid(read_asked),
    .s_axi_arready(read_taken),
    .s_axi_rdata(read_data),
    .s_axi_rresp(),
    .s_axi_rvalid(read_valid),
    .s_axi_rready(1'b1),
    .s_axis_cmd_tdata(cmd_data),
    .s_axis_cmd_tlast(cmd_last),
    .s_axis_cmd_tvalid(cmd_valid),
    .s_axis_cmd_tready(cmd_ready),
    .s_axis_x_tdata(x_data),
    .s_axis_x_tlast(x_last),
    .s_axis_x_tvalid(x_valid),
    .s_axis_x_tready(x_ready),
    .s_axis_w_tdata(w_data),
    .s_axis_w_tlast(w_last),
    .s_axis_w_tvalid(w_valid),
    .s_axis_w_tready(w_ready),
    .m_axis_y_tdata(y_data),
    .m_axis_y_tkeep(y_keep),
    .m_axis_y_tlast(y_last),
    .m_axis_y_tvalid(y_valid),
    .m_axis_y_tready(y_ready)
  );

  // operands, with the extremes of 8 bits among them, and the product as Verilog computes it
  reg signed [7:0] x [0:M*K-1];
  reg signed [7:0] w [0:K*N-1];
  integer y [0:M*N-1];

  task fill;
    integer m, k, n;
    begin
      for (m = 0; m < M * K; m = m + 1) x[m] = 37 * m - 90;
      for (k = 0; k < K * N; k = k + 1) w[k] = 29 * k + 11;
      x[1] = -128;
      w[N] = -128;
      for (m = 0; m < M; m = m + 1)
        for (n = 0; n < N; n = n + 1) begin
          y[m * N + n] = 0;
          for (k = 0; k < K; k = k + 1)
            y[m * N + n] = y[m * N + n] + x[m * K + k] * w[k * N + n];
        end
    end
  endtask

  // Values change after the falling edge; a transfer happens at the rising edge that follows.
  task send_cmd(input [31:0] word, input last);
    begin
      cmd_data = word;
      cmd_last = last;
      cmd_valid = 1;
      @(posedge clk);
      while (!cmd_ready) @(posedge clk);
      @(negedge clk) cmd_valid = 0;
      cmd_data = 32'bx;
    end
  endtask

  // Activation vectors of ROWS elements, element 0 in the low byte: all rows of the first K tile,
  // then all rows of the second. One packet per LOAD_X.
  task send_x;
    integer tile, m;
    for (tile = 0; tile < K_TILES; tile = tile + 1)
      for (m = 0; m < M; m = m + 1) begin
        x_data = {x[m * K + tile * ROWS + 1], x[m * K + tile * ROWS]};
        x_last = tile == K_TILES - 1 && m == M - 1;
        x_valid = 1;
        @(posedge clk);
        while (!x_ready) @(posedge clk);
        @(negedge clk) x_valid = 0;
        x_data = 16'bx;
      end
  endtask

  // A weight tile is ROWS beats, its last row first, column 0 in the low byte. Tiles of the first
  // channels come first, and for them the tiles of K in order. Columns beyond N are padding.
  task send_w;
    integer channels, tile, row, k;
    for (channels = 0; channels < N_TILES; channels = channels + 1)
      for (tile = 0; tile < K_TILES; tile = tile + 1)
        for (row = ROWS - 1; row >= 0; row = row - 1) begin
          k = tile * ROWS + row;
          w_data[7:0] = w[k * N + channels * COLS];
          w_data[15:8] = channels * COLS + 1 < N ? w[k * N + channels * COLS + 1] : 8'd0;
          w_last = channels == N_TILES - 1 && tile == K_TILES - 1 && row == 0;
          w_valid = 1;
          @(posedge clk);
          while (!w_ready) @(posedge clk);
          @(negedge clk) w_valid = 0;
          w_data = 16'bx;
        end
  endtask

  // Word 0 of a command: opcode in bits 7 to 0, then four waits of 4 bits. 15 waits for nothing.
  localparam [31:0] WAIT_NOTHING = 32'h00FF_FF00;
  localparam [31:0] WAIT_LOADS = 32'h00FF_0000;  // wait_x = wait_w = 0: all loads finished
  localparam [31:0] RAW = 32'h0400_0000;         // bit 26: sums as they are, not requantised

  task send_commands;
    begin
      send_cmd(WAIT_NOTHING | 1, 0);           // LOAD_X
      send_cmd((K_TILES * M) << 16 | 0, 0);    //   count, base
      send_cmd(0, 1);                          //   value, used with fill only
      send_cmd(WAIT_NOTHING | 2, 0);           // LOAD_W
      send_cmd((N_TILES * K_TILES * ROWS) << 16 | 0, 1);  // count, base
      send_cmd(WAIT_LOADS | RAW | 4, 0);       // GEMM
      send_cmd(0, 0);                          //   1: first vector
      send_cmd(N_TILES << 16 | 0, 0);          //   2: n_tiles, w_base
      send_cmd(1 << 16 | K_TILES, 0);          //   3: k_rows, k_chunks
      send_cmd(M, 0);                          //   4: the next K tile is M vectors further
      send_cmd(0, 0);                          //   5: k_row step, there is one kernel row
      send_cmd(1 << 16 | M, 0);                //   6: m_tiles, tile_rows
      send_cmd((N - COLS) << 16 | M, 0);       //   7: n_last, last_rows
      send_cmd(0, 0);                          //   8: steps of row loops 0
      send_cmd(0, 0);                          //   9:                    1
      send_cmd(0, 0);                          //  10:                    2
      send_cmd(0, 0);                          //  11:                    3
      send_cmd(1, 0);                          //  12:                    4: one vector per row
      send_cmd(1 << 16 | 1, 0);                //  13: iterations of row loops 1 and 0
      send_cmd(1 << 16 | 1, 0);                //  14:                         3 and 2
      send_cmd(1 << 16 | M, 0);                //  15: pool, iterations of row loop 4
      send_cmd(0, 0);                          //  16 to 19: positions of stored results, not used
      send_cmd(0, 0);
      send_cmd(0, 0);
      send_cmd(0, 0);
      send_cmd(0, 0);                          //  20: zero_point, p_base
      send_cmd(0, 0);                          //  21: high, low
      send_cmd(0, 1);                          //  22: mode, which this datapath has none of
    end
  endtask

  integer failures = 0, results = 0;

  // Results leave tile of channels by tile of channels, row by row, drain_lanes = 1 per beat.
  task take_results;
    integer channels, m, n;
    begin
      y_ready = 1;
      for (channels = 0; channels < N_TILES; channels = channels + 1)
        for (m = 0; m < M; m = m + 1)
          for (n = channels * COLS; n < N && n < (channels + 1) * COLS; n = n + 1) begin
            @(posedge clk);
            while (y_valid !== 1) @(posedge clk);
            results = results + 1;
            $display("y[%0d][%0d] = %0d, expected %0d", m, n, $signed(y_data), y[m * N + n]);
            if ($signed(y_data) !== y[m * N + n] || y_keep !== 8'hFF) failures = failures + 1;
            if (y_last !== (results == M * N)) begin
              $display("tlast is %b at result %0d", y_last, results);
              failures = failures + 1;
            end
          end
      @(negedge clk) y_ready = 0;
    end
  endtask

  task read_register(input [7:0] address, input [31:0] expected);
    begin
      read_address = address;
      read_asked = 1;
      @(posedge clk);
      while (!read_taken) @(posedge clk);
      @(negedge clk) read_asked = 0;
      while (read_valid !== 1) @(negedge clk);
      if (read_data !== expected) begin
        $display("register %0d is %h, expected %h", address, read_data, expected);
        failures = failures + 1;
      end
    end
  endtask

  initial begin
    fill;
    repeat (4) @(negedge clk);
    rst = 0;
    @(negedge clk);
    read_register(8'd0, 32'h54574731);  // id
    fork
      send_commands;
      send_x;
      send_w;
      take_results;
    join
    read_register(ERRORS, 32'd0);       // no error flag is set
    if (failures == 0) $display("PASS: %0d results equal", results);
    else $display("FAIL: %0d of %0d results differ", failures, results);
    $finish;
  end

  localparam [7:0] ERRORS = 8'd28;

  initial begin
    #100000 $display("FAIL: no end after %0d results", results);
    $finish;
  end

endmodule
