# 30: a person breaks the glass by naming every closed gate, and no other; the names, what the gates saw, who and why are
# in the history.
at 9m  fault prometheus silent
at 10m human switches from blue to green by eve because blue burns
at 11m expect answer held:target_able
at 11m expect steps 0
at 12m human switches from blue to green force overriding drained by eve because blue burns
at 13m expect answer nothing_to_override
at 13m expect steps 0
at 14m human switches from blue to green force overriding target_able by eve because blue burns
at 15m expect answer decided
at 15m expect holder green
at 15m expect history [overridden] overrode target_able (green polls well: inconclusive
at 15m expect history (generation 2): blue burns (eve)
