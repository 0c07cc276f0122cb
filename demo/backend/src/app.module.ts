import { MiddlewareConsumer, Module, NestModule } from '@nestjs/common';
import { injectFaults } from './faults.js';
import { DatabaseModule } from './database.module.js';
import { JobsController } from './jobs/jobs.controller.js';
import { JobsService } from './jobs/jobs.service.js';
import { countRequest } from './status/metrics.js';
import { StatusController } from './status/status.controller.js';

@Module({
  imports: [DatabaseModule],
  controllers: [JobsController, StatusController],
  providers: [JobsService],
})
export class AppModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(countRequest, injectFaults).forRoutes('*path');
  }
}
