# 16: a pause of one fleet, with an end.
fleet build on blue green
fleet deploy on blue green
at 5m human pauses deploy for 20m
at 10m kill blue
at 20m expect holder green of build
at 20m expect outcome held:not_paused of deploy
at 30m expect holder green of deploy
