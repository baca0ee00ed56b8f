# A sign-in page comes with 200 to every write: that is no success. GitLab is asked what became of it, and nothing counts
# as done that is not seen.
at 9m  fault gitlab html-instead
at 10m kill blue
at 15m expect moving
at 15m expect holder blue
at 15m expect dns blue
at 15m expect history the answer to the change of runner 3 was lost, and GitLab does not show the change
at 16m mend gitlab
at 20m expect holder green
at 20m expect moves 1
