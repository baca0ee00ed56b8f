# A planned move outside of the fleet's window is refused at once; within it is made. The story begins at 08:00.
set window.times = ["daily 08:30-09:00"]
at 10m human switches from blue to green
at 11m expect answer held:window
at 11m expect moves 0
at 31m human switches from blue to green
at 33m expect holder green
