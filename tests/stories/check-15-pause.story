# 15: a person pauses; what is found is told all the same.
at 5m human pauses all
at 10m kill blue
at 20m expect outcome held:not_paused
at 20m expect paused
at 21m human resumes all
at 25m expect holder green
