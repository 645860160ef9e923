{{/* A Service that is reached from outside. */}}
{{- define "sextant.public" }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "sextant.fullname" .root }}-{{ .name }}
  labels:
    {{- include "sextant.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
  {{- with .settings.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .settings.type }}
  {{- if ne .settings.type "ClusterIP" }}
  externalTrafficPolicy: {{ .settings.externalTrafficPolicy }}
  {{- end }}
  {{- if eq .settings.type "LoadBalancer" }}
  {{- with .settings.loadBalancerClass }}
  loadBalancerClass: {{ . }}
  {{- end }}
  {{- with .settings.loadBalancerSourceRanges }}
  loadBalancerSourceRanges: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  selector: {{- include "sextant.partselector" . | nindent 4 }}
  ports:
    - name: {{ .port }}
      port: {{ .number }}
      targetPort: {{ .port }}
      {{- if and (ne .settings.type "ClusterIP") .settings.nodePort }}
      nodePort: {{ .settings.nodePort }}
      {{- end }}
{{- end }}
