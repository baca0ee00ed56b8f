# Somebody patched an operation in while the controller was dead. It waits without end, and runs whenever the controller is
# back: until then the application stays Synced and Healthy, and counts as unknown.
set require.gitops = true
at 5m  fault argocd in green operation-waits
at 20m expect gate target_able closed saw GitOps objects not well (0 wanted): 1.00
at 25m kill blue
at 30m expect outcome held:target_able
at 30m expect holder blue
at 31m mend argocd
at 35m expect holder green
