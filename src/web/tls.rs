//! From what the file asks for to what rustls does.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, IpAddr as TlsIp, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use secrecy::ExposeSecret;
use webpki::EndEntityCert;

use crate::config::{ClientAuth, WebTls as Tls};

/// What is wrong, and the key of the file that it is about.
pub(super) type Wrong = (&'static str, String);

/// Builds the TLS side of the listener.
pub(super) fn server(tls: &Tls, http2: bool) -> Result<ServerConfig, Wrong> {
    let provider = Arc::new(provider(tls));
    let versions: Vec<_> = [(tls.tls13, &rustls::version::TLS13), (tls.tls12, &rustls::version::TLS12)]
        .into_iter()
        .filter_map(|(on, version)| on.then_some(version))
        .collect();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| ("cipher_suites", format!("leave nothing to speak with: {error}")))?;
    let builder = match verifier(tls, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let certificates =
        certificates(&tls.cert).ok_or(("cert", "has a certificate that is no PEM".to_owned()))?;
    // The library's text is not repeated: it speaks of a key.
    let key = PrivateKeyDer::from_pem_slice(tls.key.expose_secret().as_bytes())
        .map_err(|_| ("key", "is not a private key in PEM (an encrypted one cannot be used)".to_owned()))?;
    let mut config = builder.with_single_cert(certificates, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => ("key", "is not the key of the certificate".to_owned()),
        rustls::Error::InvalidCertificate(why) => ("cert", format!("cannot be used: {why}")),
        _ => ("key", "is of a kind that rustls does not know; use ECDSA, Ed25519 or RSA".to_owned()),
    })?;
    config.ignore_client_order = tls.prefer_server;
    config.alpn_protocols = if http2 { vec![b"h2".to_vec()] } else { Vec::new() };
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(config)
}

/// ring's suites and curves, as far as they are wanted, in the order wanted.
fn provider(tls: &Tls) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if !tls.cipher_suites.is_empty() {
        let all = std::mem::take(&mut provider.cipher_suites);
        let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
        provider.cipher_suites = all.iter().filter(|s| name(s).starts_with("TLS13_")).copied().collect();
        let wanted = tls.cipher_suites.iter().filter_map(|word| all.iter().find(|s| name(s) == *word));
        provider.cipher_suites.extend(wanted);
    }
    if !tls.curves.is_empty() {
        let all = std::mem::take(&mut provider.kx_groups);
        let name = |word: &str| match word {
            "CurveP256" => rustls::NamedGroup::secp256r1,
            "CurveP384" => rustls::NamedGroup::secp384r1,
            _ => rustls::NamedGroup::X25519,
        };
        let wanted = tls.curves.iter().filter_map(|word| all.iter().find(|g| g.name() == name(word)));
        provider.kx_groups = wanted.copied().collect();
    }
    provider
}

fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()
}

fn verifier(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Option<Arc<dyn ClientCertVerifier>>, Wrong> {
    let verified = |mandatory: bool| -> Result<Arc<dyn ClientCertVerifier>, Wrong> {
        let broken = || ("client_ca", "has a certificate that cannot be used".to_owned());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(tls.client_ca.as_deref().unwrap_or_default()).ok_or_else(broken)? {
            roots.add(certificate).map_err(|_| broken())?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let builder = if mandatory { builder } else { builder.allow_unauthenticated() };
        let verifier = builder.build().map_err(|_| broken())?;
        Ok(if tls.client_allowed_sans.is_empty() {
            verifier
        } else {
            Arc::new(Named { verifier, allowed: tls.client_allowed_sans.clone() })
        })
    };
    let any = |mandatory| -> Arc<dyn ClientCertVerifier> {
        Arc::new(Any { mandatory, provider: provider.clone() })
    };
    Ok(match tls.client_auth {
        ClientAuth::No => None,
        ClientAuth::Request => Some(any(false)),
        ClientAuth::RequireAny => Some(any(true)),
        ClientAuth::VerifyIfGiven => Some(verified(false)?),
        ClientAuth::RequireAndVerify => Some(verified(true)?),
    })
}

/// Takes every certificate whose key the client has, as the two words ask for that verify nothing.
#[derive(Debug)]
struct Any {
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Any {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes a certificate that the authority signed for one of the allowed names.
#[derive(Debug)]
struct Named {
    verifier: Arc<dyn ClientCertVerifier>,
    allowed: Vec<String>,
}

impl Named {
    fn allows(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
        let names: Vec<&str> = certificate.valid_dns_names().chain(certificate.valid_uri_names()).collect();
        self.allowed.iter().any(|allowed| {
            names.contains(&allowed.as_str())
                || allowed.parse::<IpAddr>().is_ok_and(|ip| {
                    let name = ServerName::IpAddress(TlsIp::from(ip));
                    certificate.verify_is_valid_for_subject_name(&name).is_ok()
                })
        })
    }
}

impl ClientCertVerifier for Named {
    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.verifier.verify_client_cert(certificate, intermediates, now)?;
        if self.allows(certificate) {
            return Ok(verified);
        }
        Err(rustls::CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CIPHER_SUITES, CURVES};

    fn tls() -> Tls {
        Tls {
            cert: String::new(),
            key: String::new().into(),
            client_auth: ClientAuth::No,
            client_ca: None,
            client_allowed_sans: Vec::new(),
            tls12: true,
            tls13: true,
            cipher_suites: Vec::new(),
            curves: Vec::new(),
            prefer_server: true,
        }
    }

    #[test]
    fn every_word_for_a_suite_and_a_curve_is_one_of_the_library() {
        let all = ring::default_provider();
        for suite in CIPHER_SUITES {
            let chosen = provider(&Tls { cipher_suites: vec![suite.to_owned()], ..tls() });
            let tls12: Vec<_> =
                chosen.cipher_suites.iter().filter(|s| s.version() == &rustls::version::TLS12).collect();
            assert_eq!(tls12.len(), 1, "{suite}");
            assert_eq!(format!("{:?}", tls12[0].suite()), suite);
            assert_eq!(chosen.cipher_suites.len(), 4, "TLS 1.3's stay on");
        }
        for curve in CURVES {
            assert_eq!(
                provider(&Tls { curves: vec![curve.to_owned()], ..tls() }).kx_groups.len(),
                1,
                "{curve}"
            );
        }
        assert_eq!(CIPHER_SUITES.len() + 3, all.cipher_suites.len());
        assert_eq!(CURVES.len(), all.kx_groups.len());
    }
}
