# 26: the process ends before the second step happens, and goes on after its restart.
at 9m crash before step 2
at 10m kill blue
at 15m expect holder green
at 15m expect moves 1
