import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// Grafana's packages expect webpack's `process.env`. The code editor is megabytes that no panel shows.
export default defineConfig({
  base: './',
  plugins: [react()],
  define: { 'process.env': {}, global: 'globalThis' },
  resolve: { alias: [{ find: /^(monaco-editor|react-monaco-editor|@monaco-editor\/react)(\/.*)?$/, replacement: '/src/nothing.js' }] },
  build: { minify: false, sourcemap: false, rollupOptions: { shimMissingExports: true }, chunkSizeWarningLimit: 20000 },
});
