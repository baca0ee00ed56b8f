# A short pause of one person does not end what another one has stopped until it is lifted.
fleet rnd on blue green
at 5m human pauses all by ada because works in blue
at 6m human pauses all for 10m by bob because a quick look
at 10m kill blue
at 20m expect outcome held:not_paused
at 20m expect holder blue
at 25m human pauses rnd for 1h by bob because a quick look
at 30m human resumes all by bob because the works are over
at 35m expect outcome held:not_paused
at 35m expect history pause_lifted
at 40m human resumes rnd by ada because nobody looks any more
at 45m expect holder green
