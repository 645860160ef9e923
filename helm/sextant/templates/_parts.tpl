{{/*
The parts: the section of the values, the ports beside `admin`, the seconds from SIGTERM to SIGKILL (longer than the part
drains), what it is beyond a plain service, and whom it calls on which port. This is the service graph of
docs/architecture.md; network policies are made of it.
*/}}
{{- define "sextant.parts" -}}
{{- $peers := has .Values.datastore.type (list "postgres" "mysql") -}}
cert-authority:
  values: certAuthority
  ports: {grpc: 7443}
  grace: 20
  calls: {}
token-service:
  values: tokenService
  ports: {grpc: 7443}
  grace: 20
  calls:
    cert-authority: [grpc]
    datastore-proxy: [etcd]
datastore-proxy:
  values: datastoreProxy
  ports: {etcd: 2379{{ if $peers }}, peer: 2380{{ end }}}
  grace: 20
  calls:
    cert-authority: [grpc]
    {{- if $peers }}
    datastore-proxy: [peer]
    {{- end }}
supervisor:
  values: supervisor
  ports: {grpc: 7443, public: 9443}
  public: public
  grace: 20
  calls:
    cert-authority: [grpc, admin]
    token-service: [grpc, admin]
    datastore-proxy: [etcd, admin]
    supervisor: [grpc, admin]
    kube-apiserver: [https, mesh, admin]
    kube-controller-manager: [mesh, admin]
    kube-scheduler: [mesh, admin]
kube-apiserver:
  values: kubeApiserver
  ports: {https: 6443, mesh: 7443}
  public: https
  grace: 40
  calls:
    cert-authority: [grpc]
    token-service: [grpc]
    datastore-proxy: [etcd]
    supervisor: [grpc]
kube-controller-manager:
  values: kubeControllerManager
  ports: {mesh: 7443}
  grace: 40
  calls:
    cert-authority: [grpc]
    supervisor: [grpc]
    kube-apiserver: [https]
kube-scheduler:
  values: kubeScheduler
  ports: {mesh: 7443}
  grace: 40
  calls:
    cert-authority: [grpc]
    supervisor: [grpc]
    kube-apiserver: [https]
{{- end }}

{{/* The values of a part: `defaults`, and over them its own section. */}}
{{- define "sextant.values" -}}
{{- $asleep := dict }}
{{- if .root.Values.asleep }}
{{- $asleep = dict "replicas" 0 "autoscaling" (dict "enabled" false) }}
{{- end }}
{{- mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy (index .root.Values .spec.values)) $asleep | toJson }}
{{- end }}

{{/* Name of the volume that a part keeps its state on, and of what claims it; nothing for the others. */}}
{{- define "sextant.claim" -}}
{{- $values := .root.Values -}}
{{- $made := printf "%s-%s" (include "sextant.fullname" .root) .part -}}
{{- if and (eq .part "datastore-proxy") (eq $values.datastore.type "sqlite") -}}
{{ $values.datastore.sqlite.existingClaim | default $made }}
{{- else if and (eq .part "cert-authority") (eq $values.certAuthority.state "volume") -}}
{{ $values.certAuthority.volume.existingClaim | default $made }}
{{- end -}}
{{- end }}

{{/* Whether each replica has a volume of its own: cert-authority's issuance log is no replica's to share. */}}
{{- define "sextant.ownvolumes" -}}
{{- with .root.Values.certAuthority -}}
{{- if and (eq $.part "cert-authority") (eq .state "secret") .keepLog -}}
true
{{- end -}}
{{- end -}}
{{- end }}

{{/* What a part is run by: pods with volumes, or replicas that are alike. */}}
{{- define "sextant.kind" -}}
{{ or (include "sextant.claim" .) (include "sextant.ownvolumes" .) | empty | ternary "Deployment" "StatefulSet" }}
{{- end }}

{{- define "sextant.partselector" -}}
{{ include "sextant.selector" .root }}
app.kubernetes.io/component: {{ .part }}
{{- end }}
