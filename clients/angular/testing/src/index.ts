export { LatidoTestingController, provideLatidoTesting } from './controller';
