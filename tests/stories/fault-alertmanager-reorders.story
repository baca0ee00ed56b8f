# Messages come in the wrong order, and no poll corrects them.
poll never
at 5m fault alertmanager reorder
at 10m kill blue
at 12m revive blue
at 13m kill blue
at 30m expect holder green
at 30m expect moves 1
