# A person takes the tag from the holder: reported, and not fought.
at 10m human retags runner 1
at 10m human retags runner 2
at 15m expect holder nobody
at 15m expect outcome drifted
at 15m expect drift
