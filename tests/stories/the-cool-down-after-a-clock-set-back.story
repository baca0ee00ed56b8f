# The clock was set back between two moves: the cool-down is that of the later one.
fleet rnd on blue green
set cool_down = "30m"
at 5m clock jumps 60s
at 5m10s human switches rnd from blue to green
at 5m20s human acks rnd
at 5m25s clock jumps -60s
at 5m30s human switches rnd from green to blue
at 5m50s expect gate cooled_down closed
at 7m kill blue
at 30m expect holder blue
