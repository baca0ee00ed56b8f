# The clock of Switchyard's machine jumps an hour ahead: everything looks old, and nothing is moved by that.
at 10m clock jumps 1h
at 12m kill blue
at 30m expect moves 0
at 31m clock jumps -1h
at 40m expect holder green
