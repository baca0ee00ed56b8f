# 31: who, what, why: everything a person does is in the history, what was refused too.
at 10m human pauses for 1h by eve because the lab moves
at 10m expect history set pause on fleet rnd until 2027-01-15T09:10:00Z, expecting rnd at blue: the lab moves (eve)
at 11m human resumes by bob because it has moved
at 11m expect history lifted pause from fleet rnd, expecting rnd at blue: it has moved; it was that of eve until 2027-01-15T09:10:00Z (bob)
at 12m human switches from green to blue by eve because of a mistake
at 13m expect history [unexpected_holder] rnd is held by blue, not by green as the request expects: nothing was done. (eve)
at 14m human switches from blue to green by bob because blue gets a new kernel
at 15m expect holder green
at 15m expect history switchover from blue to green: blue gets a new kernel (bob)
