# A secondary goes on giving the old answer: the old side keeps the tag until it agrees.
at 5m fault dns ns2 behind
at 10m kill blue
at 13m expect holder blue and green
at 14m mend dns
at 16m expect holder green
