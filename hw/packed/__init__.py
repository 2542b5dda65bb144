"""Arrays whose cells select one of several input lines: column combining."""
