# Two pools carry the tag and nobody holds the fleet. Who says where it goes still waits for the pipelines of the other one.
fleet rnd on blue green held by nobody
set sticky = true
at 1m human gives runner 1 tag rnd-runner
at 1m human gives runner 2 tag rnd-runner
at 1m human gives runner 3 tag rnd-runner
at 2m human runs pipeline 7
at 10m human switches from nobody to green
at 12m expect moves 0
at 13m human ends pipeline 7
at 16m expect holder green
