# Each request to reconcile is handled, as the status says by its token, and what it applies is refused: handled is not
# done.
set require.gitops = true
at 5m  fault flux in green apply-fails
at 10m kill blue
at 15m expect outcome held:target_able
at 15m expect gate target_able closed saw GitOps objects not well (0 wanted): 1.00
at 15m expect holder blue
at 16m mend flux
at 18m expect holder green
