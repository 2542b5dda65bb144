// Behaviour of the ECP5's MULT18X18D as tilewright uses it: operands from the fabric, all
// registers on CLK0, resets synchronous, no operand C and no shift chains. Yosys has a black box only.
module MULT18X18D (
    input wire A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17, B0,
        B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17, SIGNEDA,
        SIGNEDB, SOURCEA, SOURCEB, C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13,
        C14, C15, C16, C17, CLK0, CLK1, CLK2, CLK3, CE0, CE1, CE2, CE3, RST0, RST1, RST2, RST3,
    output wire P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17,
        P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35);
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
    parameter REG_INPUTC_CLK = "NONE", CLK0_DIV = "ENABLED", SOURCEB_MODE = "B_SHIFT";
    parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0";
    parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
    parameter MULT_BYPASS = "DISABLED", RESETMODE = "SYNC", GSR = "ENABLED";

    wire [17:0] a = {
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {
        B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    wire [35:0] product, multiplied, p;
    wire [17:0] x, y;
    wire [3:0] ce = {CE3, CE2, CE1, CE0}, rst = {RST3, RST2, RST1, RST0};

    tilewright_dsp_register #(.WIDTH(18), .CLOCK(REG_INPUTA_CLK), .ENABLE(REG_INPUTA_CE),
        .RESET(REG_INPUTA_RST)) input_a (.clk(CLK0), .ce(ce), .rst(rst), .d(a), .q(x));
    tilewright_dsp_register #(.WIDTH(18), .CLOCK(REG_INPUTB_CLK), .ENABLE(REG_INPUTB_CE),
        .RESET(REG_INPUTB_RST)) input_b (.clk(CLK0), .ce(ce), .rst(rst), .d(b), .q(y));
    wire [35:0] xs = {{18{SIGNEDA & x[17]}}, x}, ys = {{18{SIGNEDB & y[17]}}, y};
    assign product = xs * ys;
    tilewright_dsp_register #(.WIDTH(36), .CLOCK(REG_PIPELINE_CLK), .ENABLE(REG_PIPELINE_CE),
        .RESET(REG_PIPELINE_RST)) pipeline (.clk(CLK0), .ce(ce), .rst(rst), .d(product), .q(multiplied));
    tilewright_dsp_register #(.WIDTH(36), .CLOCK(REG_OUTPUT_CLK), .ENABLE(REG_OUTPUT_CE),
        .RESET(REG_OUTPUT_RST)) output_p (.clk(CLK0), .ce(ce), .rst(rst), .d(multiplied), .q(p));
    assign {
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
        P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p;
endmodule

module tilewright_dsp_register #(parameter WIDTH = 18, parameter CLOCK = "NONE",
    parameter ENABLE = "CE0", parameter RESET = "RST0") (
    input wire clk, input wire [3:0] ce, input wire [3:0] rst,
    input wire [WIDTH-1:0] d, output wire [WIDTH-1:0] q);
    wire on = ENABLE == "CE0" ? ce[0] : ENABLE == "CE1" ? ce[1] : ENABLE == "CE2" ? ce[2] : ce[3];
    wire clear = RESET == "RST0" ? rst[0] : RESET == "RST1" ? rst[1] : RESET == "RST2" ? rst[2] : rst[3];
    generate if (CLOCK == "NONE") begin : passes
        assign q = d;
    end else begin : holds
        reg [WIDTH-1:0] kept = 0;
        always @(posedge clk) if (clear) kept <= 0; else if (on) kept <= d;
        assign q = kept;
    end endgenerate
endmodule
