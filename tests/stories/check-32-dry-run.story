# 32: a fleet that is only watched is a dry run with the same engine: what would be done is said, with what each gate saw,
# and nothing moves. Enabled, it does what was said.
set enabled = false
at 5m  human retags runner 3
at 6m  expect plan remove tag rnd-runner from runner 3 of green (withheld: not_enabled)
at 6m  expect steps 0
at 7m  human retags runner 3
at 10m kill blue
at 13m expect outcome held:enabled
at 13m expect plan failover from blue to green held by enabled
at 13m expect gate target_able open
at 13m expect gate confirmed open
at 13m expect moves 0
at 13m expect steps 0
at 14m human enables
at 16m expect holder green
at 16m expect moves 1
