import { bootstrapApplication } from '@angular/platform-browser';
import { provideLatido } from '@latido/angular';
import { withFallback } from 'latido/sse';

import { App } from './app';

bootstrapApplication(App, { providers: [provideLatido({ url: '/ws', token: async () => 'a.b.c', WebSocket: withFallback() })] });
