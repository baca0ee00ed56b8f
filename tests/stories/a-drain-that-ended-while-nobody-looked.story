# A switch waits until its fleet has drained, at most for 30 minutes. Whoever comes back hours later does not carry it out.
fleet rnd on blue green
set sticky = true
set drain_deadline = "30m"
at 2m human runs pipeline 7
at 5m human switches rnd from blue to green
at 6m stop
at 7m human ends pipeline 7
at 10h start
at 10h30m expect holder blue
at 10h30m expect history was not judged in time
