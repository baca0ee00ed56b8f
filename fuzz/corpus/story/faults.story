# GitLab's reads lag behind by minutes in the middle of a move: the tag is not taken away before it was seen there.
at 10m kill blue
at 11m fault gitlab stale-reads for 4m
at 14m expect holder blue and green
at 20m expect holder green
