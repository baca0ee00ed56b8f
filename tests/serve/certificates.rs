//! Certificates for tests: an authority, and what it signs.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, string::Ia5String,
};

use crate::stage::Stage;

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for DNS names and IP addresses.
    pub(crate) fn sign(&self, names: &[&str]) -> Pair {
        self.sign_with(names, None)
    }

    pub(crate) fn sign_with(&self, names: &[&str], uri: Option<&str>) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(Ia5String::try_from(uri).unwrap())));
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A certificate for somebody with a common name.
    pub(crate) fn sign_client(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Pair {
    pub(crate) fn identity(&self) -> reqwest::Identity {
        reqwest::Identity::from_pem(format!("{}\n{}", self.certificate, self.key).as_bytes()).unwrap()
    }

    /// Writes `NAME.crt` and `NAME.key` into the stage's directory.
    pub(crate) fn write(&self, stage: &Stage, name: &str) -> (PathBuf, PathBuf) {
        (
            stage.secret(&format!("{name}.crt"), &self.certificate),
            stage.secret(&format!("{name}.key"), &self.key),
        )
    }
}
