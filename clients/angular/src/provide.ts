import { isPlatformBrowser } from '@angular/common';
import {
  DestroyRef,
  type EnvironmentProviders,
  inject,
  InjectionToken,
  Injector,
  makeEnvironmentProviders,
  PLATFORM_ID,
  runInInjectionContext,
} from '@angular/core';
import { Latido, type LatidoOptions, type Observer, type State, type Status } from 'latido';

/** As much of the client as components use; `@latido/angular/testing` has one without a server. */
export interface LatidoClient {
  readonly status: Status;
  last<T>(channel: string): T | undefined;
  watch<T, H = unknown>(channel: string, observer: Observer<T, H>): () => void;
  onStatus(listener: (state: State, status: Status) => void): () => void;
  reconnect(): void;
  close(): void;
}

/** Where the server is, and how to be let in. */
export interface LatidoConfig extends LatidoOptions {
  /** `wss://live.example.com/ws`, or a path: `/ws`. */
  url: string | URL;
}

/** The client of this application; null where there is no browser. */
export const LATIDO = new InjectionToken<LatidoClient | null>('LATIDO');

/**
 * Makes the client, with the first component that asks for it. It connects with the first channel that is watched, and is closed with
 * the injector.
 *
 * @param config or a function that gives it. Both the function and the token callback run in injection context, so that they may `inject`.
 */
export function provideLatido(config: LatidoConfig | (() => LatidoConfig)): EnvironmentProviders {
  const useFactory = (): LatidoClient | null => {
    if (!isPlatformBrowser(inject(PLATFORM_ID))) return null;
    const injector = inject(Injector);
    const { url, token, ...options } = typeof config === 'function' ? config() : config;
    const client = new Latido(url, {
      ...options,
      token: typeof token === 'string' ? token : (request) => runInInjectionContext(injector, () => token(request)),
    });
    inject(DestroyRef).onDestroy(() => client.close());
    return client;
  };
  return makeEnvironmentProviders([{ provide: LATIDO, useFactory }]);
}
