# 21: the new side first, the old side last; while DNS cannot be changed the old side keeps its tag.
at 5m fault dns ns1 down
at 10m kill blue
at 14m expect holder blue and green
at 14m expect dns blue
at 15m mend dns
at 20m expect holder green
at 20m expect dns green
