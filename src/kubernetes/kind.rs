//! The kinds of objects that are watched and judged.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of object that is watched and judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A runner's pod.
    Pod,
    /// Velero: one backup.
    Backup,
    /// Velero: what makes backups by the clock.
    Schedule,
    /// Velero: a bucket with a prefix.
    BackupStorageLocation,
    /// Velero: one restore.
    Restore,
    /// Argo CD.
    Application,
    /// Flux: manifests that are applied.
    Kustomization,
    /// Flux: a Helm release.
    HelmRelease,
    /// Flux: a source.
    GitRepository,
    /// Flux: a source.
    #[serde(rename = "OCIRepository")]
    OciRepository,
    /// Flux: a source.
    HelmRepository,
    /// Flux: a source.
    Bucket,
    /// Flux: a chart taken from a source.
    HelmChart,
    /// Flux: a source that any controller may make.
    ExternalArtifact,
}

/// What makes a family of kinds: one installation, one set of controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// Kubernetes itself.
    Kubernetes,
    /// Velero.
    Velero,
    /// Argo CD.
    Argocd,
    /// Flux.
    Flux,
}

impl Tool {
    /// The name, as in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Velero => "velero",
            Self::Argocd => "argocd",
            Self::Flux => "flux",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Pod,
        Self::Backup,
        Self::Schedule,
        Self::BackupStorageLocation,
        Self::Restore,
        Self::Application,
        Self::Kustomization,
        Self::HelmRelease,
        Self::GitRepository,
        Self::OciRepository,
        Self::HelmRepository,
        Self::Bucket,
        Self::HelmChart,
        Self::ExternalArtifact,
    ];

    /// The kind, as objects say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Backup => "Backup",
            Self::Schedule => "Schedule",
            Self::BackupStorageLocation => "BackupStorageLocation",
            Self::Restore => "Restore",
            Self::Application => "Application",
            Self::Kustomization => "Kustomization",
            Self::HelmRelease => "HelmRelease",
            Self::GitRepository => "GitRepository",
            Self::OciRepository => "OCIRepository",
            Self::HelmRepository => "HelmRepository",
            Self::Bucket => "Bucket",
            Self::HelmChart => "HelmChart",
            Self::ExternalArtifact => "ExternalArtifact",
        }
    }

    /// The API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Pod => "",
            Self::Backup | Self::Schedule | Self::BackupStorageLocation | Self::Restore => "velero.io",
            Self::Application => "argoproj.io",
            Self::Kustomization => "kustomize.toolkit.fluxcd.io",
            Self::HelmRelease => "helm.toolkit.fluxcd.io",
            Self::GitRepository
            | Self::OciRepository
            | Self::HelmRepository
            | Self::Bucket
            | Self::HelmChart
            | Self::ExternalArtifact => "source.toolkit.fluxcd.io",
        }
    }

    /// The versions whose fields are understood, preferred first.
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Pod | Self::Backup | Self::Schedule | Self::BackupStorageLocation | Self::Restore => {
                &["v1"]
            }
            Self::Application => &["v1alpha1"],
            Self::Kustomization
            | Self::GitRepository
            | Self::OciRepository
            | Self::HelmRepository
            | Self::Bucket
            | Self::HelmChart
            | Self::ExternalArtifact => &["v1", "v1beta2"],
            Self::HelmRelease => &["v2", "v2beta2"],
        }
    }

    /// The plural, as in the API's paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Backup => "backups",
            Self::Schedule => "schedules",
            Self::BackupStorageLocation => "backupstoragelocations",
            Self::Restore => "restores",
            Self::Application => "applications",
            Self::Kustomization => "kustomizations",
            Self::HelmRelease => "helmreleases",
            Self::GitRepository => "gitrepositories",
            Self::OciRepository => "ocirepositories",
            Self::HelmRepository => "helmrepositories",
            Self::Bucket => "buckets",
            Self::HelmChart => "helmcharts",
            Self::ExternalArtifact => "externalartifacts",
        }
    }

    /// Whose kind it is.
    pub fn tool(self) -> Tool {
        match self {
            Self::Pod => Tool::Kubernetes,
            Self::Backup | Self::Schedule | Self::BackupStorageLocation | Self::Restore => Tool::Velero,
            Self::Application => Tool::Argocd,
            Self::Kustomization
            | Self::HelmRelease
            | Self::GitRepository
            | Self::OciRepository
            | Self::HelmRepository
            | Self::Bucket
            | Self::HelmChart
            | Self::ExternalArtifact => Tool::Flux,
        }
    }

    /// The name of the CRD that defines it, such as `backups.velero.io`; none for what every cluster has.
    pub fn crd(self) -> Option<String> {
        (self.tool() != Tool::Kubernetes).then(|| format!("{}.{}", self.plural(), self.group()))
    }

    /// The kind that an object of this `apiVersion` and `kind` is. Any version of a known group is taken.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Self::ALL.into_iter().find(|k| k.as_str() == kind && k.group() == group)
    }

    /// The Flux kind that a reference within Flux objects names.
    pub fn of_flux(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == kind && k.tool() == Tool::Flux)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
