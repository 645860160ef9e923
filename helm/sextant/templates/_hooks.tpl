{{/* What a running cluster is built on: an upgrade that changes it is refused, or is a step to another Kubernetes. */}}
{{- define "sextant.facts" -}}
{{- $datastore := .Values.datastore -}}
{{- $state := include "sextant.claim" (dict "root" . "part" "datastore-proxy") -}}
{{- if eq $datastore.type "postgres" -}}
{{- $state = printf "%s/%s" $datastore.postgres.database $datastore.postgres.schema -}}
{{- else if eq $datastore.type "mysql" -}}
{{- $state = $datastore.mysql.database -}}
{{- else if eq $datastore.type "etcd" -}}
{{- $state = include "sextant.etcdprefix" . -}}
{{- end -}}
{{- dict
  "kubernetes" (index .Chart.Annotations "sextant.dev/kubernetes")
  "datastore" (printf "%s %s" $datastore.type $state)
  "domain" .Values.cluster.domain
  "podCidr" .Values.cluster.podCidr
  "serviceCidr" .Values.cluster.serviceCidr | toJson -}}
{{- end }}

{{/* A Job of the command line: `name`, `hook`, `args`. Its output is shown where it fails. */}}
{{- define "sextant.hook" }}
{{- $name := printf "%s-%s" (include "sextant.fullname" .root) .name }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  labels:
    {{- include "sextant.labels" .root | nindent 4 }}
    app.kubernetes.io/component: hook
  annotations:
    helm.sh/hook: {{ .hook }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    helm.sh/hook-output-log-policy: hook-failed
spec:
  backoffLimit: {{ .tries }}
  activeDeadlineSeconds: 120
  template:
    metadata:
      labels: {{- include "sextant.partselector" (dict "root" .root "part" "hook") | nindent 8 }}
    spec:
      serviceAccountName: {{ $name }}
      automountServiceAccountToken: true
      enableServiceLinks: false
      restartPolicy: Never
      securityContext:
        {{- include "sextant.podsecurity" .root | nindent 8 }}
      {{- with include "sextant.placement" .root.Values.defaults | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with .root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      containers:
        - name: sextant
          image: {{ include "sextant.image" (dict "root" .root "name" "cli") }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          securityContext:
            {{- include "sextant.containersecurity" .root | nindent 12 }}
          resources:
            requests: {cpu: 10m, memory: 16Mi}
            limits: {memory: 64Mi}
          args: {{- toYaml .args | nindent 12 }}
{{- end }}

{{/* The account of such a Job with its rules; it is there as long as the Job. */}}
{{- define "sextant.hookaccount" }}
{{- $name := printf "%s-%s" (include "sextant.fullname" .root) .name }}
{{- range list "ServiceAccount" "Role" "RoleBinding" }}
---
apiVersion: {{ eq . "ServiceAccount" | ternary "v1" "rbac.authorization.k8s.io/v1" }}
kind: {{ . }}
metadata:
  name: {{ $name }}
  labels:
    {{- include "sextant.labels" $.root | nindent 4 }}
    app.kubernetes.io/component: hook
  annotations:
    helm.sh/hook: {{ $.hook }}
    helm.sh/hook-weight: "-1"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- if eq . "ServiceAccount" }}
automountServiceAccountToken: false
{{- else if eq . "Role" }}
rules: {{- toYaml $.rules | nindent 2 }}
{{- else }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $name }}}
subjects:
  - {kind: ServiceAccount, name: {{ $name }}, namespace: {{ $.root.Release.Namespace }}}
{{- end }}
{{- end }}
{{- end }}
