# The way home waits for the window. A sticky fleet drains from its beginning: what was in flight before is waited for.
# The story begins at 08:00.
set sticky = true
set drain_policy = "move"
set drain_deadline = "10m"
set failback = { after = "20m" }
set window.times = ["daily 11:00-12:00"]
at 10m    kill blue
at 15m    expect holder green
at 20m    revive blue
at 2h     human runs pipeline 7
at 2h59m  expect gate window closed
at 2h59m  expect moves 1
at 3h5m   expect gate drained closed saw in flight: 1
at 3h9m   expect moves 1
at 3h15m  expect holder blue
