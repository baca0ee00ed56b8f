# A person gives the tag to the standby while all is well: the holder is able, so the other side loses it again.
at 10m human retags runner 3
at 15m expect holder blue
at 15m expect moves 0
