# 19: an action that expects another holder does nothing, and is written down.
at 10m human switches from green to blue
at 11m expect holder blue
at 11m expect moves 0
at 11m expect answer unexpected_holder
at 12m human pauses rnd believing green because works in blue
at 13m expect history [unexpected_holder] refused to set pause on fleet rnd, expecting rnd at green: it is rnd at blue; works in blue (ada)
at 13m expect not paused
at 14m human pauses rnd believing blue for 1h because works in blue
at 15m expect history [pause_set] set pause on fleet rnd until 2027-01-15T09:14:00Z, expecting rnd at blue: works in blue (ada)
at 15m expect paused
at 16m human resumes rnd believing nobody
at 17m expect paused
at 18m human resumes rnd believing blue
at 19m expect not paused
