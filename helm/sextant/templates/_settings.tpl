{{/* What the chart sets of a part's configuration, by the keys of docs/configuration.md. */}}
{{- define "sextant.settings" -}}
{{- if ne .part "cert-authority" }}
enroll.cert_authority: {{ include "sextant.fullname" .root }}-cert-authority:7443
enroll.folder: /enrol
enroll.trust_config_map: {{ include "sextant.fullname" .root }}-trust
{{- end }}
{{- if hasPrefix "kube-" .part }}
{{- include "sextant.settings.runner" . }}
{{- else }}
{{- include (printf "sextant.settings.%s" .part) .root }}
{{- end }}
{{- end }}

{{- define "sextant.settings.cert-authority" }}
{{- $public := .Values.public.apiserver }}
{{- $names := include "sextant.servicenames" (dict "root" . "part" "kube-apiserver") | fromJsonArray }}
hosting.name: {{ include "sextant.fullname" . }}
hosting.audience: {{ include "sextant.audience" . }}
hosting.state: {{ eq .Values.certAuthority.state "volume" | ternary "folder" "secret" }}
hosting.seal: {{ empty .Values.certAuthority.seal.existingSecret | ternary "secret" "folder" }}
cluster.domain: {{ .Values.cluster.domain }}
cluster.service_cidrs: {{ list .Values.cluster.serviceCidr | toJson }}
node.api_address: {{ .Values.cluster.nodeApiAddress }}
apiserver.names: {{ concat $names (list (include "sextant.public.apiserver" . | include "sextant.host")) $public.names | uniq | toJson }}
datastore.names: {{ include "sextant.servicenames" (dict "root" . "part" "datastore-proxy") }}
{{- end }}

{{- define "sextant.settings.token-service" }}
datastore: {{ include "sextant.fullname" . }}-datastore-proxy:2379
service_account_issuer: https://kubernetes.default.svc.{{ .Values.cluster.domain }}
{{- end }}

{{- define "sextant.settings.datastore-proxy" }}
{{- $datastore := .Values.datastore }}
{{- if eq $datastore.type "sqlite" }}
endpoint: sqlite:///var/lib/sextant/state.db
quota_bytes: {{ int64 $datastore.quotaBytes }}
{{- else if eq $datastore.type "postgres" }}
{{- $postgres := $datastore.postgres }}
endpoint: {{ printf "postgres://%s@%s:%d/%s?schema=%s" (urlquery $postgres.user) $postgres.host (int $postgres.port) (urlquery $postgres.database) $postgres.schema }}
{{- include "sextant.settings.server" $postgres }}
{{- else if eq $datastore.type "mysql" }}
{{- $mysql := $datastore.mysql }}
endpoint: {{ printf "mysql://%s@%s:%d/%s" (urlquery $mysql.user) $mysql.host (int $mysql.port) $mysql.database }}
{{- include "sextant.settings.server" $mysql }}
{{- else }}
{{- $etcd := $datastore.etcd }}
endpoint: etcd://{{ join "," $etcd.endpoints }}/{{ include "sextant.etcdprefix" . }}
etcd.ca_file: /etc/sextant-database/ca.crt
{{- if $etcd.tlsSecret.clientCertificate }}
etcd.certificate_file: /etc/sextant-database/tls.crt
etcd.key_file: /etc/sextant-database/tls.key
{{- end }}
{{- end }}
{{- end }}

{{/* Under which prefix all is in the etcd. */}}
{{- define "sextant.etcdprefix" -}}
{{ .Values.datastore.etcd.prefix | default (printf "planes/%s/%s" .Release.Namespace (include "sextant.fullname" .)) | trimAll "/" }}
{{- end }}

{{- define "sextant.settings.server" }}
database.ca_file: /etc/sextant-database/ca.pem
{{- if .passwordSecret.name }}
database.password_file: /etc/sextant-database/password
{{- end }}
{{- end }}

{{- define "sextant.settings.supervisor" }}
{{- $name := include "sextant.fullname" . }}
{{- $endpoint := include "sextant.public.apiserver" . }}
{{- $parts := list }}
{{- range $part, $spec := include "sextant.parts" . | fromYaml }}
{{- $pods := printf "%s-%s-pods" $name $part }}
{{- $port := coalesce $spec.ports.grpc $spec.ports.etcd $spec.ports.mesh | int }}
{{- $parts = append $parts (dict "name" $part "admin" (printf "%s:9090" $pods) "rpc" (printf "%s:%d" $pods $port)) }}
{{- end }}
token_service: {{ $name }}-token-service:7443
datastore: {{ $name }}-datastore-proxy:2379
parts: {{ $parts | toJson }}
cluster.name: {{ .Values.cluster.name | default $name | quote }}
cluster.nodes: []
cluster.datastore: https://{{ $name }}-datastore-proxy:2379
cluster.supervisors: {{ list (include "sextant.public.supervisor" .) | toJson }}
cluster.api.internal: {{ $name }}-kube-apiserver:6443
cluster.api.node_address: {{ .Values.cluster.nodeApiAddress }}
cluster.api.public_url: https://{{ $endpoint }}
cluster.api.servers: {{ .Values.public.apiserver.nodeEndpoints | default (list $endpoint) | toJson }}
cluster.network_policy: {{ .Values.cluster.networkPolicy }}
cluster.addons.local_path: {{ .Values.cluster.addons.localPath }}
cluster.addons.metrics_server: {{ .Values.cluster.addons.metricsServer }}
cluster.networks.cluster_domain: {{ .Values.cluster.domain }}
cluster.networks.cluster_cidr: {{ .Values.cluster.podCidr }}
cluster.networks.service_cidr: {{ .Values.cluster.serviceCidr }}
cluster.networks.cluster_dns: {{ .Values.cluster.dnsAddress }}
cluster.leader_lease_seconds: {{ .Values.cluster.leaderLeaseSeconds }}
{{- with .Values.cluster.extraArgs }}
cluster.extra_args.kube_apiserver: {{ toJson .kubeApiserver }}
cluster.extra_args.kube_controller_manager: {{ toJson .kubeControllerManager }}
cluster.extra_args.kube_scheduler: {{ toJson .kubeScheduler }}
{{- end }}
{{- end }}

{{- define "sextant.settings.runner" }}
component: {{ .part }}
supervisor: {{ include "sextant.fullname" .root }}-supervisor:7443
# Many planes share a machine, and few of them are busy: a quarter less memory is worth the processor time.
gogc: 50
{{- if eq .part "kube-apiserver" }}
token_service: {{ include "sextant.fullname" .root }}-token-service:7443
{{- end }}
{{- end }}

{{/*
The environment of a part. Text stands as it is; everything else as JSON, which the services read as YAML. A change of it
is a change of the pod's template and rolls the pods.
*/}}
{{- define "sextant.environment" -}}
{{- range $key, $value := mergeOverwrite (include "sextant.settings" . | fromYaml) .values.settings }}
- name: SEXTANT_{{ $key | replace "." "__" | upper }}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- with .root.Values.telemetry }}
{{- if .otlpEndpoint }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .otlpEndpoint | quote }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name={{ $.root.Release.Namespace }},k8s.pod.name=$(POD_NAME)
{{- if .tlsSecret.name }}
- name: OTEL_EXPORTER_OTLP_CERTIFICATE
  value: /etc/sextant-collector/ca.crt
{{- if .tlsSecret.clientCertificate }}
- name: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE
  value: /etc/sextant-collector/tls.crt
- name: OTEL_EXPORTER_OTLP_CLIENT_KEY
  value: /etc/sextant-collector/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
