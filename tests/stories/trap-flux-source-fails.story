# A Kustomization stays Ready while its source fails, and the source has handled the request to reconcile: handled is not
# done.
set require.gitops = true
at 5m  fault flux in green failing
at 7m  expect gate target_able closed saw GitOps objects not well (0 wanted): 2.00
at 10m kill blue
at 15m expect outcome held:target_able
at 15m expect holder blue
