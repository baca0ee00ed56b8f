# A switch that waits for pipelines ends when somebody pauses the fleet: it is not carried out behind their back.
set sticky = true
at 5m  human runs pipeline 7
at 10m human switches from blue to green
at 12m human pauses by eve because the network is worked on
at 13m expect answer held:not_paused
at 14m human ends pipeline 7
at 20m expect moves 0
at 20m expect holder blue
