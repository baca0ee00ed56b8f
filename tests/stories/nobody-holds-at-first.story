# No pool carries the tag when Switchyard comes: a person says who shall.
fleet rnd on blue green held by nobody
at 5m expect outcome no_holder
at 6m human switches from nobody to green
at 8m expect holder green
