//! How TLS connections are verified, and one HTTP client per way of doing it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::RegistryError;
use crate::client::ClientOptions;
use crate::error::Cause;

/// How connections to one place are verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TlsSettings {
    pub(crate) skip_verify: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
}

/// An HTTP client that verifies as `settings` say; without them it trusts nobody and is for plain HTTP. `direct` goes
/// past proxies. `host` is for messages.
pub(crate) fn http_client(
    settings: Option<&TlsSettings>,
    direct: bool,
    options: &ClientOptions,
    host: &str,
) -> Result<reqwest::Client, RegistryError> {
    let failed = |source: Cause| RegistryError::Tls { host: host.to_owned(), source };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder =
        builder.with_safe_default_protocol_versions().map_err(|error| failed(error.into()))?;
    let plain = TlsSettings::default();
    let verify = settings.is_some();
    let settings = settings.unwrap_or(&plain);
    let builder = if !verify {
        builder.with_root_certificates(RootCertStore::empty())
    } else if settings.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(settings, host)?)
    };
    let mut config = match (&settings.client_cert, &settings.client_key) {
        (Some(certificate), key) => {
            let key = key.as_deref().unwrap_or(certificate);
            let chain = certificates(certificate, host)?;
            let key = PrivateKeyDer::from_pem_slice(&read(key, host)?)
                .map_err(|source| setting(host, key, source.into()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| setting(host, certificate, source.into()))?
        }
        (None, _) => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .user_agent(&options.user_agent)
        .connect_timeout(options.connect_timeout)
        .tcp_keepalive(Duration::from_secs(30))
        .pool_idle_timeout(Duration::from_secs(30))
        .http2_adaptive_window(true);
    if !direct {
        let except = || reqwest::NoProxy::from_string(&options.proxy.no_proxy);
        if let Some(proxy) = &options.proxy.http {
            let proxy = reqwest::Proxy::http(proxy.as_str()).map_err(|_| bad_proxy(proxy))?;
            builder = builder.proxy(proxy.no_proxy(except()));
        }
        if let Some(proxy) = &options.proxy.https {
            let proxy = reqwest::Proxy::https(proxy.as_str()).map_err(|_| bad_proxy(proxy))?;
            builder = builder.proxy(proxy.no_proxy(except()));
        }
    }
    builder.build().map_err(|error| failed(error.into()))
}

fn bad_proxy(url: &str) -> RegistryError {
    // What stands before an `@` may be a password.
    let url = url.rsplit('@').next().unwrap_or(url).to_owned();
    RegistryError::Address { url, reason: "it cannot be used as a proxy" }
}

/// The system's certificates, or Mozilla's where the system has none, and those of the settings.
fn roots(settings: &TlsSettings, host: &str) -> Result<RootCertStore, RegistryError> {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = &settings.ca {
        for certificate in certificates(path, host)? {
            roots.add(certificate).map_err(|source| setting(host, path, source.into()))?;
        }
    }
    Ok(roots)
}

fn certificates(path: &Path, host: &str) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let pem = read(path, host)?;
    let found = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| setting(host, path, source.into()))?;
    if found.is_empty() {
        return Err(setting(host, path, "it has no certificate in PEM form".into()));
    }
    Ok(found)
}

fn read(path: &Path, host: &str) -> Result<Vec<u8>, RegistryError> {
    fs_err::read(path).map_err(|source| setting(host, path, source.into()))
}

fn setting(host: &str, path: &Path, source: Cause) -> RegistryError {
    RegistryError::Setting { host: host.to_owned(), path: path.to_owned(), source }
}

/// Accepts every certificate: what `insecure` and `skip-verify` ask for. Signatures are checked all the same.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
