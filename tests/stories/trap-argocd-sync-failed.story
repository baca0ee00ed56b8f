# An operation of the revision that is wanted failed, while the application stays Synced and Healthy: what a hook should
# have done is not done. The standby is not able before an operation went well.
set require.gitops = true
at 5m  fault argocd in green sync-failed
at 10m kill blue
at 15m expect outcome held:target_able
at 15m expect gate target_able closed saw GitOps objects not well (0 wanted): 1.00
at 15m expect holder blue
at 16m mend argocd
at 18m expect holder green
