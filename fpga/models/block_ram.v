// Behaviour of the ECP5's block RAMs as tilewright uses them: both ports on one clock, contents at
// first those of INITVAL, 16 words of 18 bits in each, resets tied low, chip selects unused. Yosys
// has black boxes only. What one port reads of a word while the other writes it is undefined.
module DP16KD (
    input wire DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6,
        DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
    input wire ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1,
        ADA0,
    input wire CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output wire DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6,
        DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
    input wire DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6,
        DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    input wire ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1,
        ADB0,
    input wire CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output wire DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6,
        DOB5, DOB4, DOB3, DOB2, DOB1, DOB0);
    parameter DATA_WIDTH_A = 18;
    parameter REGMODE_A = "NOREG", WRITEMODE_A = "NORMAL", CSDECODE_A = "0b000";
    parameter CLKAMUX = "CLKA";
    parameter DATA_WIDTH_B = 18;
    parameter REGMODE_B = "NOREG", WRITEMODE_B = "NORMAL", CSDECODE_B = "0b000";
    parameter CLKBMUX = "CLKB";
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "ENABLED";
    parameter INIT_DATA = "STATIC";
    parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0,
        INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0, INITVAL_08 = 0,
        INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D = 0,
        INITVAL_0E = 0, INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0,
        INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0,
        INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0,
        INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20 = 0, INITVAL_21 = 0,
        INITVAL_22 = 0, INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0,
        INITVAL_27 = 0, INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0,
        INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0, INITVAL_30 = 0,
        INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0,
        INITVAL_36 = 0, INITVAL_37 = 0, INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0,
        INITVAL_3B = 0, INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0;

    localparam [20479:0] INIT = {INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B,
        INITVAL_3A, INITVAL_39, INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34,
        INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D,
        INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26,
        INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F,
        INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
        INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11,
        INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A,
        INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03,
        INITVAL_02, INITVAL_01, INITVAL_00};
    reg [17:0] words [0:1023];
    integer i;
    initial for (i = 0; i < 1024; i = i + 1) words[i] = INIT[20 * i +: 18];

    wire [13:0] at_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3,
        ADA2, ADA1, ADA0};
    wire [13:0] at_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3,
        ADB2, ADB1, ADB0};
    wire [17:0] given_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8,
        DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] given_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8,
        DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    wire [17:0] out_a, out_b;
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
        DOA4, DOA3, DOA2, DOA1, DOA0} = out_a;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
        DOB4, DOB3, DOB2, DOB1, DOB0} = out_b;

    generate if (DATA_WIDTH_B == 36) begin : pairs
        // Words of 36 bits: A writes them, enabled by its lowest address bits, and B reads them.
        wire [35:0] given = {given_b, given_a};
        wire [3:0] enable = at_a[3:0] & {4{CEA & WEA}};
        wire same_pair = at_a[13:5] == at_b[13:5];
        reg [35:0] read = 0, kept = 0;
        always @(posedge CLKA) for (i = 0; i < 18; i = i + 1) begin
            if (enable[i / 9]) words[{at_a[13:5], 1'b0}][i] <= given[i];
            if (enable[2 + i / 9]) words[{at_a[13:5], 1'b1}][i] <= given[18 + i];
        end
        always @(posedge CLKB) if (CEB) for (i = 0; i < 18; i = i + 1) begin
            read[i] <= enable[i / 9] & same_pair ? 1'bx : words[{at_b[13:5], 1'b0}][i];
            read[18 + i] <= enable[2 + i / 9] & same_pair ? 1'bx : words[{at_b[13:5], 1'b1}][i];
        end
        always @(posedge CLKB) if (OCEB) kept <= read;
        assign {out_b, out_a} = REGMODE_B == "OUTREG" ? kept : read;
    end else begin : single
        wire [17:0] mask_a, mask_b;
        wire same_word = at_a[13:4] == at_b[13:4];
        wire [17:0] meets_a = {18{CEB & WEB & same_word}} & mask_b;
        wire [17:0] meets_b = {18{CEA & WEA & same_word}} & mask_a;

        wire [17:0] spread_a, chosen_a;
        reg [17:0] read_a = 0, kept_a = 0;
        reg [3:0] lane_a = 0;
        tilewright_ram_lanes #(.WIDTH(DATA_WIDTH_A)) lanes_a (.lane(at_a[3:0]), .given(given_a),
            .mask(mask_a), .spread(spread_a), .was(lane_a), .word(read_a), .chosen(chosen_a));
        always @(posedge CLKA) if (CEA) begin
            lane_a <= at_a[3:0];
            for (i = 0; i < 18; i = i + 1) if (WEA & mask_a[i]) words[at_a[13:4]][i] <= spread_a[i];
            if (!WEA) read_a <= words[at_a[13:4]] & ~meets_a | {18{1'bx}} & meets_a;
            else if (WRITEMODE_A == "READBEFOREWRITE") read_a <= words[at_a[13:4]];
            else if (WRITEMODE_A == "WRITETHROUGH")
                read_a <= words[at_a[13:4]] & ~mask_a | spread_a & mask_a;
        end
        always @(posedge CLKA) if (OCEA) kept_a <= chosen_a;
        assign out_a = REGMODE_A == "OUTREG" ? kept_a : chosen_a;

        wire [17:0] spread_b, chosen_b;
        reg [17:0] read_b = 0, kept_b = 0;
        reg [3:0] lane_b = 0;
        tilewright_ram_lanes #(.WIDTH(DATA_WIDTH_B)) lanes_b (.lane(at_b[3:0]), .given(given_b),
            .mask(mask_b), .spread(spread_b), .was(lane_b), .word(read_b), .chosen(chosen_b));
        always @(posedge CLKB) if (CEB) begin
            lane_b <= at_b[3:0];
            for (i = 0; i < 18; i = i + 1) if (WEB & mask_b[i]) words[at_b[13:4]][i] <= spread_b[i];
            if (!WEB) read_b <= words[at_b[13:4]] & ~meets_b | {18{1'bx}} & meets_b;
            else if (WRITEMODE_B == "READBEFOREWRITE") read_b <= words[at_b[13:4]];
            else if (WRITEMODE_B == "WRITETHROUGH")
                read_b <= words[at_b[13:4]] & ~mask_b | spread_b & mask_b;
        end
        always @(posedge CLKB) if (OCEB) kept_b <= chosen_b;
        assign out_b = REGMODE_B == "OUTREG" ? kept_b : chosen_b;
    end endgenerate
endmodule

// Where an element of WIDTH bits lies in a word of 18: two halves of eight bits and one more.
module tilewright_ram_lanes #(parameter WIDTH = 18) (
    input wire [3:0] lane, input wire [17:0] given, output wire [17:0] mask, output wire [17:0] spread,
    input wire [3:0] was, input wire [17:0] word, output wire [17:0] chosen);
    generate if (WIDTH >= 18) begin : whole
        assign mask = {{9{lane[1]}}, {9{lane[0]}}};
        assign spread = given;
        assign chosen = word;
    end else begin : part
        localparam [17:0] ONES = (18'd1 << WIDTH) - 18'd1;
        wire [4:0] shift, back;
        assign shift = (lane[3] ? 5'd9 : 5'd0) + (WIDTH == 9 ? 5'd0 : {2'd0, lane[2:0]});
        assign back = (was[3] ? 5'd9 : 5'd0) + (WIDTH == 9 ? 5'd0 : {2'd0, was[2:0]});
        assign mask = ONES << shift;
        assign spread = given << shift;
        assign chosen = (word >> back) & ONES;
    end endgenerate
endmodule
