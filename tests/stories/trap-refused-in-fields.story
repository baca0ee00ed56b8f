# GitLab says why it refuses as lists by field. The words are told in short, the move latches with them, and only a person
# tries again.
at 9m  fault gitlab refused-in-fields
at 10m kill blue
at 15m expect history GitLab answered 400: maintenance_note is too long; tags_list is reserved; is odd
at 40m expect latched
at 40m expect holder blue
at 40m mend gitlab
at 60m expect latched
at 60m expect moves 1
at 60m expect holder blue
