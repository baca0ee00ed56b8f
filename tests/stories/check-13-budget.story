# 13: at most so many automatic moves over all fleets.
fleet build on blue green
fleet deploy on blue green
set limits.moves = 1
at 10m kill blue
at 20m expect holder green of build
at 20m expect holder blue of deploy
at 20m expect outcome held:budget of deploy
at 80m expect holder green of deploy
