{{/* The pods of one part of this control plane, as a peer. */}}
{{- define "sextant.peer" -}}
- podSelector:
    matchLabels: {{- include "sextant.partselector" . | nindent 6 }}
{{- end }}

{{/* Ports by their names, as numbers: not every network plugin knows the names of another pod's ports. */}}
{{- define "sextant.ports" -}}
{{- range .names }}
- {port: {{ index $.of.ports . | default 9090 }}, protocol: TCP}
{{- end }}
{{- end }}

{{- define "sextant.egress.dns" -}}
- to: {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{- define "sextant.egress.hostingapi" -}}
{{- $api := .Values.networkPolicy.hostingApi -}}
- ports:
    {{- range $api.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with $api.cidrs }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  {{- end }}
{{- end }}

{{- define "sextant.egress.collector" -}}
- to: {{- .Values.networkPolicy.collector | default (list (dict "namespaceSelector" dict)) | toYaml | nindent 4 }}
  ports: [{port: {{ include "sextant.port" (dict "address" .Values.telemetry.otlpEndpoint "default" 4317) }}, protocol: TCP}]
{{- end }}

{{- define "sextant.egress.database" -}}
{{- $ports := list (int .Values.datastore.postgres.port) -}}
{{- if eq .Values.datastore.type "mysql" -}}
{{- $ports = list (int .Values.datastore.mysql.port) -}}
{{- end -}}
{{- if eq .Values.datastore.type "etcd" -}}
{{- $ports = list -}}
{{- range .Values.datastore.etcd.endpoints -}}
{{- $ports = append $ports (include "sextant.port" (dict "address" . "default" 2379) | int) -}}
{{- end -}}
{{- end -}}
- ports:
    {{- range uniq $ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .Values.networkPolicy.database }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* The port at the end of an address. */}}
{{- define "sextant.port" -}}
{{ regexFind ":[0-9]+(/|$)" .address | trimPrefix ":" | trimSuffix "/" | default .default }}
{{- end }}
