# 24: the best of several that are able, in the order of preference.
fleet rnd on blue green red grey
at 5m kill green
at 10m kill blue
at 20m expect holder red
