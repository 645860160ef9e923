{{/* What a part mounts beside /run/sextant: a list of mounts, each with its volume if no StatefulSet makes it. */}}
{{- define "sextant.volumes" -}}
{{- $values := .root.Values -}}
{{- $claim := include "sextant.claim" . -}}
{{- if ne .part "cert-authority" }}
- mount: {name: enrol, mountPath: /enrol, readOnly: true}
  volume:
    name: enrol
    projected:
      # The services' user is owner of a token that is mounted alone, and by fsGroup of others, too.
      defaultMode: 0440
      sources:
        - serviceAccountToken:
            audience: {{ include "sextant.audience" .root | quote }}
            expirationSeconds: 600
            path: token
{{- end }}
{{- if $claim }}
- mount: {name: state, mountPath: /var/lib/sextant}
  volume:
    name: state
    persistentVolumeClaim: {claimName: {{ $claim }}}
{{- else if hasPrefix "kube-" .part }}
# The last configuration, and kube-apiserver's audit log: both are a pod's own.
- mount: {name: state, mountPath: /var/lib/sextant}
  volume:
    name: state
    emptyDir: {sizeLimit: 512Mi}
{{- else if include "sextant.ownvolumes" . }}
- mount: {name: state, mountPath: /var/lib/sextant}
{{- else if eq .part "cert-authority" }}
- mount: {name: state, mountPath: /var/lib/sextant}
  volume:
    name: state
    emptyDir: {sizeLimit: 64Mi}
{{- end }}
{{- if and (eq .part "cert-authority") $values.certAuthority.seal.existingSecret }}
- mount: {name: seal, mountPath: /var/lib/sextant-seal, readOnly: true}
  volume:
    name: seal
    secret:
      secretName: {{ $values.certAuthority.seal.existingSecret }}
      defaultMode: 0440
      items: [{key: seal.key, path: seal.key}]
{{- end }}
{{- if and (eq .part "datastore-proxy") (ne $values.datastore.type "sqlite") }}
- mount: {name: database, mountPath: /etc/sextant-database, readOnly: true}
  volume:
    name: database
    projected:
      defaultMode: 0440
      sources: {{- include (eq $values.datastore.type "etcd" | ternary "sextant.credentials.tls" "sextant.credentials.server") (index $values.datastore $values.datastore.type) | nindent 8 }}
{{- end }}
{{- if $values.telemetry.tlsSecret.name }}
- mount: {name: collector, mountPath: /etc/sextant-collector, readOnly: true}
  volume:
    name: collector
    projected:
      defaultMode: 0440
      sources: {{- include "sextant.credentials.tls" $values.telemetry | nindent 8 }}
{{- end }}
{{- if and (eq .part "datastore-proxy") (has $values.datastore.type (list "postgres" "mysql")) }}
# Snapshots are made there before they are sent.
- mount: {name: tmp, mountPath: /tmp}
  volume:
    name: tmp
    emptyDir: {sizeLimit: 8Gi}
{{- end }}
{{- end }}

{{- define "sextant.credentials.server" -}}
- secret:
    name: {{ .caSecret.name }}
    items: [{key: {{ .caSecret.key }}, path: ca.pem}]
{{- with .passwordSecret }}
{{- if .name }}
- secret:
    name: {{ .name }}
    items: [{key: {{ .key }}, path: password}]
{{- end }}
{{- end }}
{{- end }}

{{/* Of a server that is verified by `ca.crt` and may want a client certificate. */}}
{{- define "sextant.credentials.tls" -}}
- secret:
    name: {{ .tlsSecret.name }}
    items:
      - {key: ca.crt, path: ca.crt}
      {{- if .tlsSecret.clientCertificate }}
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
      {{- end }}
{{- end }}

{{/* A claim by its settings. */}}
{{- define "sextant.claimspec" -}}
accessModes: [ReadWriteOnce]
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end }}
