//! Switchyard keeps a GitLab Runner fleet running when a Kubernetes cluster dies.
