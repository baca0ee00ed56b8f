# A sticky fleet: a planned move waits until its pipelines are over.
set sticky = true
at 5m human runs pipeline 7
at 10m human switches from blue to green
at 20m expect moves 0
at 21m human ends pipeline 7
at 25m expect holder green
