# The condition Ready is True and speaks of the generation before, while the status claims the newest: what is wanted now
# was not tried. What counts is the generation of the condition.
set require.gitops = true
at 5m  fault flux in green generation-behind
at 10m kill blue
at 15m expect outcome held:target_able
at 15m expect gate target_able closed saw GitOps objects not well (0 wanted): 1.00
at 15m expect holder blue
at 16m mend flux
at 18m expect holder green
