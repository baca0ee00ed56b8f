# An operation failed and waits for its next try, again and again: its phase is Running, and nothing of it is done. For a
# quarter of an hour it is on its way, then it does not arrive.
set require.gitops = true
at 5m  fault argocd in green retrying
at 15m expect gate target_able open
at 21m expect gate target_able closed saw GitOps objects not well (0 wanted): 1.00
at 25m kill blue
at 30m expect outcome held:target_able
at 30m expect holder blue
at 31m mend argocd
at 33m expect holder green
